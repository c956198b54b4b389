// Which profile the participants of Fast DDS are made with from now on. rmw_fastrtps makes all of a process with the
// same one, and here one context has to stay on this machine while another one reaches further.
#include <exception>

#include <fastdds/dds/domain/DomainParticipantFactory.hpp>

using eprosima::fastdds::dds::DomainParticipantFactory;
using eprosima::fastdds::dds::DomainParticipantQos;

extern "C" {

// Loads the profiles of a file beside those that Fast DDS loads by itself. Returns 0 if it could.
int dapdee_load_profiles(const char * path)
{
  try {
    auto * factory = DomainParticipantFactory::get_instance();
    factory->load_profiles();
    return factory->load_XML_profiles_file(path) == ReturnCode_t::RETCODE_OK ? 0 : 1;
  } catch (const std::exception &) {
    return 2;
  }
}

// Makes participants with the profile of this name, or as at first if there is no name. Returns 0 if it will.
int dapdee_use_profile(const char * name)
{
  static DomainParticipantQos first;
  static bool known = false;
  try {
    auto * factory = DomainParticipantFactory::get_instance();
    factory->load_profiles();
    if (!known) {
      first = factory->get_default_participant_qos();
      known = true;
    }
    DomainParticipantQos qos = first;
    if (name != nullptr &&
      factory->get_participant_qos_from_profile(name, qos) != ReturnCode_t::RETCODE_OK)
    {
      return 1;
    }
    return factory->set_default_participant_qos(qos) == ReturnCode_t::RETCODE_OK ? 0 : 1;
  } catch (const std::exception &) {
    return 2;
  }
}

}
